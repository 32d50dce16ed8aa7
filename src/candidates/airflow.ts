import type { Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject, namespaceOf } from '../model/object.ts';
import { asStringMap } from '../shared/pure/json.ts';

/** Airflow labels the task pods that it makes with these (airflow providers/cncf/kubernetes, PodGenerator). */
const TASK_LABELS = ['dag_id', 'task_id'];

/**
 * Of the pods that Airflow makes for tasks: where the template stands that names their account, which is text inside of a ConfigMap or of
 * a DAG, and so is not edited. Undefined for other workloads.
 */
export function podTemplateOfAirflow(workload: Workload, objects: readonly KubeManifest[]): string | undefined {
  if (workload.kind !== 'Pod') return undefined;
  const isTask = workload.podSets.some((podSet) => TASK_LABELS.every((key) => podSet.labels[key] !== undefined));
  if (!isTask) return undefined;
  const places = objects
    .filter((object) => isObject(object, '', 'ConfigMap') && namespaceOf(object) === workload.namespace)
    .flatMap((map) =>
      Object.entries(asStringMap(map['data'])).flatMap(([key, text]) =>
        ownMentions(key, text).map(
          (line) => `ConfigMap ${workload.namespace}/${map.metadata.name} key ${key}, line ${line}`,
        ),
      ),
    );
  const where =
    places.length > 0
      ? places.join('; ')
      : 'the file that kubernetes_executor.pod_template_file names, or pod_override of the DAG; no ConfigMap that was read holds it';
  return `Airflow makes the pods of this task from a template that is text, which is not edited: serviceAccountName in ${where}`;
}

/** A setting of the worker's account in a ConfigMap that becomes the environment or airflow.cfg. */
const SETTING = /worker_service_account_name/i;

/** Lines (from 1) of a ConfigMap's text that name the account of Airflow's worker pods. */
function ownMentions(key: string, text: string): readonly number[] {
  if (SETTING.test(key)) return [1];
  const template = /pod[-_]?template/i.test(key) || /^kind:\s*Pod\b/m.test(text);
  return text
    .split('\n')
    .flatMap((line, index) =>
      (template && /^\s*serviceAccountName\s*:/.test(line)) || SETTING.test(line) ? [index + 1] : [],
    );
}
