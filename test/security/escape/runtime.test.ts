/** F1 to F12: the runtime, and everything that a sandbox inherited from its zygote. */
import { scenarioTests } from '../scenarios/scenario.ts';
import { runtime } from '../scenarios/runtime.ts';

scenarioTests('runtime', runtime);
