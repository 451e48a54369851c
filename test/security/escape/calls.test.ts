/** C1 to C8, C10, C11: system calls. C9 is in compatibility.test.ts. */
import { scenarioTests } from '../scenarios/scenario.ts';
import { calls } from '../scenarios/calls.ts';

scenarioTests('calls', calls);
