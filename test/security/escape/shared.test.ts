/** V1, V2: things of one host that sandboxes of two tenants have in common. */
import { scenarioTests } from '../scenarios/scenario.ts';
import { shared } from '../scenarios/shared.ts';

scenarioTests('shared', shared);
