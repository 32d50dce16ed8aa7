import { estimateUnseen } from '../../src/flows/coverage.ts';

/** A kind of namespace: with what probability an edge of it shows on any one day. */
interface World {
  readonly name: string;
  readonly chance: (random: () => number) => number;
}

const DAILY = 0.98;

/** The first three are what the method assumes; the others are what clusters are like, and worse. */
export const WORLDS: readonly World[] = [
  { name: 'every edge on half of the days', chance: () => 0.5 },
  { name: 'every edge on one day of five', chance: () => 0.2 },
  { name: 'every edge on one day of ten', chance: () => 0.1 },
  { name: 'daily, and three of ten weekly', chance: (random) => (random() < 0.7 ? DAILY : 1 / 7) },
  { name: 'daily, and one of five each tenth day', chance: (random) => (random() < 0.8 ? DAILY : 0.1) },
  { name: 'daily, and one of ten monthly', chance: (random) => (random() < 0.9 ? DAILY : 1 / 30) },
  { name: 'daily, and one of ten quarterly', chance: (random) => (random() < 0.9 ? DAILY : 1 / 90) },
  { name: 'any chance alike', chance: (random) => random() },
  { name: 'chances log-normal, spread 1.2', chance: (random) => Math.min(1, Math.exp(-1.5 + 1.2 * normal(random))) },
  { name: 'chances log-normal, spread 2', chance: (random) => Math.min(1, Math.exp(-1.5 + 2 * normal(random))) },
];

export const SIZES = [20, 100] as const;
export const DAYS = [7, 14, 28] as const;
export const TRIALS = 400;

export interface Calibration {
  readonly world: string;
  readonly edges: number;
  readonly days: number;
  /** Mean number of edges that are there and were not seen, and of the bound. */
  readonly unseen: number;
  readonly upper: number;
  /** Share of trials in which the bound held for all unseen edges; for those that as long a record again shows; for the number to expect of one day more. */
  readonly holdsForAll: number;
  readonly holdsForAgain: number;
  readonly holdsForNextDay: number;
  /** Share of trials in which at most 5% were said to be unseen. */
  readonly says5: number;
}

/** Draws namespaces of which everything is known, and records of them, and asks the estimate. The same on every machine. */
export function calibrate(world: World, edges: number, days: number, trials = TRIALS): Calibration {
  const random = createRandom(edges * 1000 + days);
  const sum = { unseen: 0, upper: 0, all: 0, again: 0, next: 0, says5: 0 };
  for (let trial = 0; trial < trials; trial += 1) {
    const chances = Array.from({ length: edges }, () => world.chance(random));
    const shownOn = (chance: number): number => {
      let shown = 0;
      for (let day = 0; day < days; day += 1) if (random() < chance) shown += 1;
      return shown;
    };
    const incidences = chances.map(shownOn);
    const missed = chances.filter((_, index) => incidences[index] === 0);
    const again = missed.filter((chance) => shownOn(chance) > 0).length;
    const next = missed.reduce((expected, chance) => expected + chance, 0);
    const { unseenUpper, shareUpper = 1, freshUpper = 0 } = estimateUnseen(incidences, days);
    sum.unseen += missed.length;
    sum.upper += unseenUpper;
    if (missed.length <= unseenUpper) sum.all += 1;
    if (again <= unseenUpper) sum.again += 1;
    if (next <= freshUpper) sum.next += 1;
    if (shareUpper <= 0.05) sum.says5 += 1;
  }
  const mean = (total: number): number => total / trials;
  return {
    world: world.name,
    edges,
    days,
    unseen: mean(sum.unseen),
    upper: mean(sum.upper),
    holdsForAll: mean(sum.all),
    holdsForAgain: mean(sum.again),
    holdsForNextDay: mean(sum.next),
    says5: mean(sum.says5),
  };
}

export function calibrateAll(): readonly Calibration[] {
  return WORLDS.flatMap((world) => SIZES.flatMap((edges) => DAYS.map((days) => calibrate(world, edges, days))));
}

export function renderCalibration(rows: readonly Calibration[]): string {
  const percent = (share: number): string => `${Math.round(share * 100)} %`;
  return [
    '| namespace | edges | days | unseen | bound | holds for all | for as long again | for the next day | says at most 5 % |',
    '|---|--:|--:|--:|--:|--:|--:|--:|--:|',
    ...rows.map(
      (row) =>
        `| ${row.world} | ${row.edges} | ${row.days} | ${row.unseen.toFixed(1)} | ${row.upper.toFixed(1)} | ${percent(row.holdsForAll)} | ${percent(row.holdsForAgain)} | ${percent(row.holdsForNextDay)} | ${percent(row.says5)} |`,
    ),
  ].join('\n');
}

/** Numbers from 0 to 1, the same for the same seed: a counter through the finaliser of splitmix32. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 4_294_967_296;
  };
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
