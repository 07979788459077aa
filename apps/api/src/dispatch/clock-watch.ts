/** Answers that took longer say too little, milliseconds. */
const slowMs = 1_000;
/** Less is no news, milliseconds. */
const newsMs = 500;
const stepMs = 100;
/** More is said as this much, some 24 days: it fits the store's integer. */
const mostMs = 2 ** 31 - 1;

/** How far the clock of a host is from ours, by the time in its answers (Cristian, 1989): half of the way there is allowed for. */
export class ClockWatch {
  private told: number | null = null;

  /**
   * Of an answer with the host's time, all in milliseconds since 1970. Returns by how much the host is ahead (behind below
   * zero, 0 where the way explains it), or null where that is not known, or nearly what was returned before.
   */
  seen(askedAt: number, answeredAt: number, hostAt: number): number | null {
    const half = (answeredAt - askedAt) / 2;
    if (half < 0 || half > slowMs / 2) return null;
    const ahead = hostAt - (askedAt + half);
    const sure = Math.abs(ahead) <= half + stepMs ? 0 : Math.round(ahead / stepMs) * stepMs;
    const bounded = Math.max(-mostMs, Math.min(mostMs, sure));
    if (this.told !== null && Math.abs(bounded - this.told) < newsMs) return null;
    this.told = bounded;
    return bounded;
  }
}
