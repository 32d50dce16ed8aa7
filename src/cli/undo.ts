import { join } from 'node:path';
import type { UndoStore } from '../engine/contract.ts';
import { openUndoFolder } from '../targets/undo-folder.ts';
import type { App } from './context.ts';

/** Where ways back are kept: in a folder, the one that is configured or one beside the state, and in the cluster where there is one. */
export async function undoStores(app: App, stateFile: string): Promise<readonly UndoStore[]> {
  const { undo } = await app.config();
  const target = await app.target();
  // A folder that is named may serve several clusters.
  const folder = openUndoFolder(undo.path === undefined ? `${stateFile}.undo` : join(undo.path, target.id));
  return undo.cluster === 'off' || target.undo === undefined ? [folder] : [folder, target.undo];
}
