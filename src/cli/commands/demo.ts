import type { App } from '../context.ts';
export function demo(_app: App, _o: object): Promise<number> { return Promise.resolve(0); }
