// Folders of stages whose owners are dead. Their processes, namespaces and mounts ended with the owner.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const PREFIX = 'sallyport-lab-';

/** A fresh folder that belongs to this process. */
export function makeStageFolder(): string {
  const dir = mkdtempSync(path.join(tmpdir(), PREFIX));
  writeFileSync(path.join(dir, 'owner.json'), JSON.stringify({ pid: process.pid, started: startOf(process.pid) }));
  return dir;
}

/** Removes the folders that dead owners left; never touches another's, nor one it cannot read. */
export function removeLeftovers(): readonly string[] {
  const removed: string[] = [];
  for (const name of readdirSync(tmpdir()).filter((one) => one.startsWith(PREFIX))) {
    const dir = path.join(tmpdir(), name);
    const owner = readOwner(path.join(dir, 'owner.json'));
    if (owner === undefined || startOf(owner.pid) === owner.started) continue;
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    removed.push(dir);
  }
  return removed;
}

function readOwner(file: string): { readonly pid: number; readonly started: string } | undefined {
  if (!existsSync(file)) return undefined;
  try {
    const { pid, started } = JSON.parse(readFileSync(file, 'utf8')) as { pid?: unknown; started?: unknown };
    return typeof pid === 'number' && typeof started === 'string' ? { pid, started } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * When the process started, in ticks since boot: tells it from another that got its number later. Empty if there is none, or one that has
 * ended and waits for its parent to notice.
 */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return ['Z', 'X'].includes(fields[0] ?? '') ? '' : (fields[19] ?? '');
  } catch {
    return '';
  }
}
