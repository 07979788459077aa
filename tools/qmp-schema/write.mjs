#!/usr/bin/env node
// Writes the types of QMP from the installed QEMU. Run it by hand after names.mjs changed, or for another QEMU.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { resolveConfig } from 'prettier';
import { introspect } from './introspect.mjs';
import { typesText } from './types.mjs';

const path = fileURLToPath(new URL('../../libs/kvm/src/qmp/schema.gen.ts', import.meta.url));
const answer = await introspect();
writeFileSync(path, await typesText(answer, await resolveConfig(path)));
process.stdout.write(`${path}: QEMU ${answer.version}\n`);
