import type { MeshAnswer } from './istio-party.ts';
import { membershipOf, textOf, unknownMtls } from './istio-party.ts';
import type { Party, World } from './world.ts';

export function isAmbient(world: World, ...parties: readonly Party[]): boolean {
  const members = parties.map(membershipOf);
  if (members.includes('ambient')) return true;
  return world.inventory.facts.mesh.mode === 'ambient' && members.some((mesh) => mesh !== 'none');
}

export function judgeAmbient(src: Party, dst: Party): MeshAnswer {
  return unknownMtls(`${textOf(src)} or ${textOf(dst)} is in an ambient mesh, which is not evaluated.`);
}
