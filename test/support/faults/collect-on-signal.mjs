// Loaded into a process before its program (--import): collects garbage at SIGUSR2, so that a test sees only memory
// that is still held.
import v8 from 'node:v8';
import vm from 'node:vm';

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');
process.on('SIGUSR2', () => collect());
