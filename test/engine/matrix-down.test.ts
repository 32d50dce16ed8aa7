import { DOWNWARDS, describeMatrix } from './matrix.ts';

describeMatrix('backward', DOWNWARDS);
