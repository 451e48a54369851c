// attack ID [ARGUMENT...]: the attacks as a program, static so that it runs in any root.
#include "attack.h"

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const struct attack attack = {stdout, argc - 2, argv + 2};
  if (attack_run(argv[1], &attack) == 0) return 0;
  fprintf(stderr, "attack: there is no scenario %s\n", argv[1]);
  return 2;
}
