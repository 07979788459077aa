import { describe, expect, it } from 'vitest';
import { runtimeWords } from './conmon.js';

describe('what the OCI runtime said', () => {
  it('is told without the frame of its log line, with its quotes as they were', () => {
    const line =
      'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: exec: \\"/nope\\": stat /nope: no such file"\n';
    expect(runtimeWords(line)).toBe('runc create failed: exec: "/nope": stat /nope: no such file');
  });

  it('stays as it is when it is no log line', () => {
    expect(runtimeWords(' container_linux.go: starting\n')).toBe('container_linux.go: starting');
  });
});
