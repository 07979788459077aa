import { writeFile } from 'node:fs/promises';
import { controllers } from '../http/controllers.js';
import { routesOf } from '../http/routes.js';
import { openApiDocument } from './document.js';

/* Run by tools/openapi: writes the document to the file that the first argument names. */
const path = process.argv[2];
if (path === undefined) throw new Error('name the file to write');
await writeFile(path, JSON.stringify(openApiDocument(routesOf(controllers)), null, 2) + '\n');
