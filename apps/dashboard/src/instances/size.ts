/** What a spec books of the processors, as the scheduler counts it. Pure. */
export function cpuMillisOf(spec: {
  readonly isolation: string;
  readonly vcpus?: number;
  readonly cpuMillis?: number;
}): number {
  const whole = (spec.vcpus ?? 1) * 1000;
  return spec.isolation === 'container' ? (spec.cpuMillis ?? 100) : Math.min(whole, spec.cpuMillis ?? whole);
}
