// Vitest global setup of the API server tier: one server for all its test files, each of which uses namespaces of its own.
import type { TestProject } from 'vitest/node';
import type { Login } from './client.ts';
import { startControllers } from './controllers.ts';
import { installCrds } from './crds.ts';
import { platformNamespaces, seedPlatform } from './platform.ts';
import { adminName, controllersName, startApiServer } from './server.ts';
import type { ApiUser } from './server.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** The shared server. `kubeconfig` is the administrator's; users without rights of their own are in `users`. */
    apiServer: SharedServer;
  }
}

export interface SharedServer {
  readonly admin: Login;
  /** For startControllers: an administrator whom the seeded injection webhook exempts. */
  readonly controllers: Login;
  readonly kubeconfig: string;
  readonly caFile: string;
  /** By name: an account that holds no role until a test binds one. */
  readonly users: Readonly<Record<string, Login & { readonly kubeconfig: string }>>;
}

/** Users whom tests may give roles to by name (RoleBinding subject kind User). */
const plainUsers: readonly ApiUser[] = ['alice', 'bob'].map((name) => ({
  name,
  uid: name,
  token: `token-of-${name}`,
  groups: ['system:authenticated'],
}));

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startApiServer({ users: plainUsers });
  try {
    await installCrds(server);
    await seedPlatform(server);
    const controllers = await startControllers(server.login(controllersName), { namespaces: platformNamespaces });
    await controllers.settle();
    const loginOf = (name: string): Login => {
      const { url, caPem, token } = server.login(name);
      return { url, caPem, token };
    };
    project.provide('apiServer', {
      admin: loginOf(adminName),
      controllers: loginOf(controllersName),
      kubeconfig: server.kubeconfigFile(adminName),
      caFile: server.caFile,
      users: Object.fromEntries(
        plainUsers.map(({ name }) => [name, { ...loginOf(name), kubeconfig: server.kubeconfigFile(name) }]),
      ),
    });
    return async () => {
      await controllers.stop();
      await server.stop();
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}
