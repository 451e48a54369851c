/** A1 to A14: Linux namespaces, processes, credentials. */
import { scenarioTests } from '../scenarios/scenario.ts';
import { processes } from '../scenarios/processes.ts';

scenarioTests('processes', processes);
