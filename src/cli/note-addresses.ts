import { holdsOfPods, holdsOfSlices } from '../flows/address-history.ts';
import type { AddressHold } from '../model/address-hold.ts';
import type { Snapshot } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { EXIT, isFailure } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import { openState } from '../../state/open.ts';
import type { Writer } from '../../state/writer.ts';
import type { App } from './context.ts';

const DAY_MS = 86_400_000;

/** Who holds which address, as the pods and EndpointSlices of a cluster say; a directory does not say when it was written. */
export function addressesIn(snapshot: Snapshot, at: number): readonly AddressHold[] {
  if (snapshot.source !== 'cluster') return [];
  const ofKind = (kind: string): readonly KubeManifest[] => snapshot.objects.filter((object) => object.kind === kind);
  return [...holdsOfPods(ofKind('Pod'), at), ...holdsOfSlices(ofKind('EndpointSlice'), at)];
}

/** Lets the history of addresses go that is older than the configuration keeps it. Returns how many pods at addresses went. */
export async function forgetAddresses(app: App, writer: Pick<Writer, 'forgetAddresses'>): Promise<number> {
  const { days } = (await app.config()).addresses;
  return days === 'off' ? 0 : writer.forgetAddresses(Date.now() - days * DAY_MS);
}

/**
 * Adds a snapshot that was read for another purpose to the history of addresses: it costs no request. Where somebody else writes to the state,
 * or it may only be read, it is left: the next reading says the same.
 */
export async function noteAddresses(app: App, snapshot: Snapshot): Promise<void> {
  const holds = addressesIn(snapshot, Date.now());
  if (holds.length === 0) return;
  const put = async (writer: Writer): Promise<void> => {
    writer.recordAddresses(holds, []);
    await forgetAddresses(app, writer);
  };
  try {
    const open = await app.state();
    if ('writer' in open) {
      await put(open.writer as Writer);
      return;
    }
    const { path, target } = await app.stateFile();
    const own = openState(path, { target, mode: 'write' });
    try {
      await put(own.writer);
    } finally {
      own.close();
    }
  } catch (error) {
    if (!isFailure(error) || error.detail.exit !== EXIT.state) throw error;
    if (error.detail.code !== 'SP508')
      app.output.note(`who holds which address now was not taken down: ${safeText(error.message)}`);
  }
}
