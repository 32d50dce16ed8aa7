// What the configuration says of the cloud, and where a fault in it stands.
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readConfig } from '../../src/cli/config.ts';
import { makeFolder } from '../support/folder.ts';

const read = async (text: string): Promise<Awaited<ReturnType<typeof readConfig>>> =>
  readConfig(join(await makeFolder({ 'config.yaml': text }), 'config.yaml'));

it('the names of the cluster are taken as they stand', async () => {
  const issuer = 'https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE';
  expect((await read(`cloud: {issuer: "${issuer}", eksCluster: prod}\n`)).cloud).toEqual({
    issuer,
    eksCluster: 'prod',
  });
  expect((await read('soak: {minutes: 5}\n')).cloud).toBeUndefined();
});

it.each([
  ['an issuer without https', 'cloud:\n  eksCluster: prod\n  issuer: http://x\n', ':3:3', 'cloud.issuer'],
  ['an issuer with a query', 'cloud:\n  issuer: https://x/?a=b\n', ':2:3', 'cloud.issuer'],
  ['a name that EKS would not take', 'cloud: {eksCluster: "-x"}\n', ':1:9', 'cloud.eksCluster'],
  ['a key that is not known', 'soak: {minutes: 1}\ncloud:\n  eksCluster: a\n  project: x\n', ':4:3', 'project'],
  [
    'a fault in a list',
    'boundaries:\n  - {kind: vpc, name: a, cidrs: [10.0.0.0/8]}\n  - {kind: nat, name: b, addresses: [x]}\n',
    ':3:38',
    'boundaries.1.addresses.0',
  ],
  ['no mapping at all', '\n\nnone\n', ':3:1', '(top)'],
])('%s is refused with file, line and column', async (_, text, place, what) => {
  await expect(read(text)).rejects.toMatchObject({
    detail: {
      code: 'SP212',
      where: expect.stringMatching(new RegExp(`config\\.yaml${place}$`, 'u')) as string,
      message: expect.stringContaining(what) as string,
    },
  });
});
