import fc from 'fast-check';

// One seed, so that a run repeats and what it counts is the same everywhere; FC_SEED names another, `random` looks elsewhere each time.
const wanted = process.env['FC_SEED'] ?? '20261123';
if (wanted !== 'random') fc.configureGlobal({ seed: Number(wanted) });

export default fc;
