/** A1 to A14: Linux namespaces, processes, credentials. */
import { scenarioTests } from './scenario.ts';
import { processes } from './scenarios/processes.ts';

scenarioTests('processes', processes);
