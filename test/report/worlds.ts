// Reports of small clusters, as the program makes them but for the reading.
import type { View } from '../../src/engine/contract.ts';
import { buildReport } from '../../src/report/build.ts';
import type { ReportInput } from '../../src/report/input.ts';
import type { AssessmentReport } from '../../src/report/model.ts';
import type { Case } from '../phases/worlds.ts';
import { viewFor } from '../phases/worlds.ts';
import { plannerFor } from '../support/rig.ts';

export function inputOf(view: View, more: Partial<ReportInput> = {}): ReportInput {
  return {
    version: '0.0.0',
    cluster: { id: '0123456789abcdef', description: 'two teams' },
    view,
    planner: plannerFor('directory'),
    runs: [],
    audit: [],
    gates: new Map(),
    latency: [],
    ...more,
  };
}

/** The report of the two teams, with something changed. */
export function reportFor(one: Case = {}, more: Partial<ReportInput> = {}): AssessmentReport {
  return buildReport(inputOf(viewFor(one), more));
}
