// Set-up of vitest.sanitize.config.ts: all tests of a process use the add-on with sanitizers.

import { fileURLToPath } from 'node:url';
import { useNativeFile } from '../../src/io/packets/native.ts';

useNativeFile(fileURLToPath(new URL('../../build/firezone-asan.node', import.meta.url)));
