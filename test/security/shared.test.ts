/** V1, V2: what sandboxes of two tenants have of one host in common. */
import { scenarioTests } from './scenario.ts';
import { shared } from './scenarios/shared.ts';

scenarioTests('shared', shared);
