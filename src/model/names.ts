// What may stand as a name: names end up in queries, in commands that are pasted, in paths and in pages. Kubernetes holds the names of
// objects to this (k8s.io/apimachinery validation); names in records, in owner references and in files are whatever somebody wrote there.

const MAX_NAME = 253;
const OBJECT_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._:@-]*[A-Za-z0-9])?$/;
const KIND = /^[A-Za-z][A-Za-z0-9-]*$/;
const HOST_NAME = /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$/;

/** Is this a name that an object can have? Colons as roles have them. */
export function isObjectName(text: string): boolean {
  return text.length <= MAX_NAME && OBJECT_NAME.test(text);
}

export function isKindName(text: string): boolean {
  return text.length <= MAX_NAME && KIND.test(text);
}

/** Is this a name of the DNS, without a wildcard? Underscores stand in service records. */
export function isHostName(text: string): boolean {
  return text.length <= MAX_NAME && HOST_NAME.test(text);
}

/** `namespace/Kind/name`, each of them a name. */
export function isWorkloadId(text: string): boolean {
  const [namespace = '', kind = '', name = '', more] = text.split('/');
  return more === undefined && isObjectName(namespace) && isKindName(kind) && isObjectName(name);
}
