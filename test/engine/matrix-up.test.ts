import { UPWARDS, describeMatrix } from './matrix.ts';

describeMatrix('forward', UPWARDS);
