import { describe, expect, it } from 'vitest';
import { buildConnectionInventory } from '../../src/inventory/build.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import type { Workload } from '../../src/model/inventory.ts';
import { inventoryOf, readFixture } from './snapshots.ts';

describe('the inventory for questions about connections', () => {
  it.each(['platform', 'live', 'bad-policies'])(
    'is the whole one of %s without what no connection hangs on',
    async (name) => {
      const snapshot = await readFixture(name, 'directory');
      const [whole, lean] = [inventoryOf(snapshot), buildConnectionInventory(snapshot, { config: DEFAULT_CONFIG })];
      const plain = (workloads: readonly Workload[]) => workloads.map((one) => ({ ...one, classification: undefined }));
      expect({ ...lean, workloads: plain(lean.workloads) }).toEqual({
        ...whole,
        workloads: plain(whole.workloads),
        declared: [],
        findings: whole.findings.filter(({ code }) => lean.findings.some((one) => one.code === code)),
      });
      const bearing = /^SP3(?:01|02|03|09|15|2[123])$/u;
      expect(lean.findings.filter(({ code }) => bearing.test(code))).toEqual(
        whole.findings.filter(({ code }) => bearing.test(code)),
      );
    },
  );
});
