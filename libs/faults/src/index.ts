export { faultPoint, faultPoints } from './fault-point.js';
