import type { AppliedPattern } from '../model/applied-pattern.ts';
import { safeText } from '../shared/pure/text.ts';

/** `applied for shop: tenants=a=shop,b=desk`. */
export function appliedText({ namespace, mark }: AppliedPattern): string {
  const how =
    mark === undefined
      ? 'its parameters are not on record'
      : mark.set.length === 0
        ? 'with the defaults'
        : mark.set.join(' ');
  return safeText(`applied for ${namespace}: ${how}`);
}
