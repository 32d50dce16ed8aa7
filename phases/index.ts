import type { Phase } from '../src/engine/contract.ts';
import { monitor } from './01-monitor/index.ts';
import { allowList } from './02-allow-list/index.ts';
import { permissiveMtls } from './03-permissive-mtls/index.ts';
import { strictMtls } from './04-strict-mtls/index.ts';
import { identity } from './05-identity/index.ts';

/** The phases in order. */
export const phases: readonly Phase[] = [monitor, allowList, permissiveMtls, strictMtls, identity];
