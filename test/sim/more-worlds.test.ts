// The other half of the worlds of CI, for another thread.

import { describe } from 'vitest';
import { testWorlds } from './ci-worlds.ts';

describe('worlds of even seeds', () => testWorlds(2, 2));
