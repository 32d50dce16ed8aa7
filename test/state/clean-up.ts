// For test files that make states by samples.ts, which processes of their own use as well and which therefore knows no test runner.
import { afterAll } from 'vitest';
import { removeDirectories } from './samples.ts';

afterAll(removeDirectories);
