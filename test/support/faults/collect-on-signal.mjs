// Loaded into a process before its program (--import): collects garbage at SIGUSR2, so that a test sees what is held and not what
// has not been thrown away yet.
import v8 from 'node:v8';
import vm from 'node:vm';

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');
process.on('SIGUSR2', () => collect());
