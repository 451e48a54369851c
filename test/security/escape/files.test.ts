/** B1 to B7, B13, B14, B17: the file system. The rest of B is about archives: test/unit/storage/artifacts/archive.test.ts. */
import { scenarioTests } from '../scenarios/scenario.ts';
import { files } from '../scenarios/files.ts';

scenarioTests('files', files);
