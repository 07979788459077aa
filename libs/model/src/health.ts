import { z } from 'zod';

/*
 * Questions that a host asks a running instance again and again, and what follows from the answers. The names are
 * those of Kubernetes: `startup` holds the other two back, `readiness` tells whether it can do its work, and a
 * `liveness` that fails ends the run, which its restart policy then follows up.
 */

export const ProbeKind = z.enum(['startup', 'readiness', 'liveness']);
export type ProbeKind = z.infer<typeof ProbeKind>;

const port = z.int().min(1).max(65_535);
const noControl = /^[\x21-\x7e]*$/;

const question = {
  /** A program in it (container, microvm); good when it exits with 0. It is killed when its time is over. */
  exec: z
    .strictObject({
      command: z
        .array(
          z
            .string()
            .max(4096)
            .refine((word) => !word.includes('\0'), 'must not contain NUL'),
        )
        .min(1)
        .max(64)
        .refine((c) => c[0] !== '', 'must begin with a program'),
    })
    .optional(),
  /** A GET of its first nic's address; good when it is answered with 200 to 399. Redirects are not followed. */
  http: z
    .strictObject({
      port,
      path: z
        .string()
        .max(2048)
        .startsWith('/')
        .regex(noControl, 'only printable ASCII without spaces; percent-encode the rest')
        .default('/'),
    })
    .optional(),
  /** A connection to its first nic's address; good when it is accepted. */
  tcp: z.strictObject({ port }).optional(),
  /** From one question to the next, seconds; give or take a twentieth, so that many do not ask in step. */
  intervalSeconds: z.int().min(1).max(3600).default(10),
  /** A question that takes longer has failed, seconds. */
  timeoutSeconds: z.int().min(1).max(300).default(5),
  /** So many failures in a row count as one. */
  failureThreshold: z.int().min(1).max(1000).default(3),
};
/** In so many seconds from the beginning of each run failures do not count, until the first success. */
const startPeriodSeconds = z.int().min(0).max(86_400).default(0);

export const StartupProbe = z.strictObject({ ...question, startPeriodSeconds });
export const LivenessProbe = z.strictObject({ ...question, startPeriodSeconds });
export const ReadinessProbe = z.strictObject({
  ...question,
  /** So many successes in a row make it ready. */
  successThreshold: z.int().min(1).max(1000).default(1),
});

export const ProbesSpec = z
  .strictObject({
    /** Until it has succeeded once in a run, the others are not asked. One that fails ends the run, as `liveness` does. */
    startup: StartupProbe.optional(),
    /** Says whether it can do its work: conditions `Ready` and `NotReady`. Nothing else follows. */
    readiness: ReadinessProbe.optional(),
    /**
     * Says whether it is to be started again: conditions `Healthy` and `Unhealthy`. One that fails ends the run, and the restart policy
     * follows; where that is `never`, it runs on and `Unhealthy` tells of it.
     */
    liveness: LivenessProbe.optional(),
  })
  .meta({ id: 'Probes', sentAs: 'ProbesInput' });
export type ProbesSpec = z.infer<typeof ProbesSpec>;
export type ProbeSpec = NonNullable<ProbesSpec[ProbeKind]>;

/** Facet of hosts that ask probes. */
export const probesFacet = 'probes';

/** What of a spec the rules look at. */
interface Probed {
  readonly isolation: string;
  readonly nics: readonly unknown[];
  readonly probes?: ProbesSpec | undefined;
}

/** Tells of everything in the probes that cannot be so. */
export function checkProbes(
  { isolation, nics, probes = {} }: Probed,
  refuse: (path: readonly string[], message: string) => void,
): void {
  for (const kind of ProbeKind.options) {
    const probe = probes[kind];
    if (probe === undefined) continue;
    const { exec, http, tcp } = probe;
    if ([exec, http, tcp].filter((one) => one !== undefined).length !== 1)
      refuse(['probes', kind], 'must have exactly one of exec, http and tcp');
    if (exec !== undefined && isolation === 'vm')
      refuse(
        ['probes', kind, 'exec'],
        'only for isolation container and microvm: an agent in a guest cannot end a program that takes too long; use http or tcp',
      );
    for (const [name, asked] of Object.entries({ http, tcp }))
      if (asked !== undefined && nics.length === 0)
        refuse(['probes', kind, name], 'asks the address of its first nic: give it one, or use exec');
  }
}
