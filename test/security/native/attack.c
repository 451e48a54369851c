#include "attack.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void quote(FILE *out, const char *text) {
  fputc('"', out);
  for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
    if (*at == '"' || *at == '\\')
      fprintf(out, "\\%c", *at);
    else if (*at < 0x20 || *at >= 0x7f)
      fprintf(out, "\\u%04x", *at);
    else
      fputc(*at, out);
  }
  fputc('"', out);
}

void told(const struct attack *attack, const char *call, long result, int error) {
  fputs("{\"call\":", attack->out);
  quote(attack->out, call);
  if (result >= 0) {
    fprintf(attack->out, ",\"succeeded\":true,\"value\":\"%ld\"}\n", result);
    return;
  }
  const char *name = strerrorname_np(error);
  fputs(",\"succeeded\":false,\"errno\":", attack->out);
  quote(attack->out, name ? name : "none");
  fputs("}\n", attack->out);
}

void fact(const struct attack *attack, const char *call, const char *value) {
  fputs("{\"call\":", attack->out);
  quote(attack->out, call);
  fputs(",\"value\":", attack->out);
  quote(attack->out, value);
  fputs("}\n", attack->out);
}

void fact_number(const struct attack *attack, const char *call, long value) {
  char text[32];
  snprintf(text, sizeof text, "%ld", value);
  fact(attack, call, text);
}

void in_child(const struct attack *attack, const char *call, long (*work)(const void *),
              const void *argument) {
  // Otherwise the child would write the parent's buffer again.
  fflush(attack->out);
  pid_t pid = fork();
  if (pid < 0) return told(attack, call, -1, errno);
  if (pid == 0) {
    errno = 0;
    long result = work(argument);
    _exit(result >= 0 ? 0 : errno > 0 && errno < 255 ? errno : 255);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    fputs("{\"call\":", attack->out);
    quote(attack->out, call);
    fprintf(attack->out, ",\"succeeded\":false,\"signal\":\"SIG%s\",\"core\":%s}\n",
            sigabbrev_np(WTERMSIG(status)), WCOREDUMP(status) ? "true" : "false");
    return;
  }
  int code = WEXITSTATUS(status);
  told(attack, call, code == 0 ? 0 : -1, code);
}

long write_to(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  long written = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return written;
}

void tell_file(const struct attack *attack, const char *path) {
  char content[16384];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, content, sizeof content - 1);
  if (length < 0) told(attack, path, -1, errno);
  if (fd >= 0) close(fd);
  if (length < 0) return;
  content[length] = '\0';
  fact(attack, path, content);
}

void tell_link(const struct attack *attack, const char *path) {
  char target[4096];
  ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) return told(attack, path, -1, errno);
  target[length] = '\0';
  fact(attack, path, target);
}

int attack_run(const char *id, const struct attack *attack) {
  const struct scenario *const families[] = {process_scenarios, file_scenarios,  call_scenarios,
                                             memory_scenarios,  quota_scenarios, shared_scenarios};
  for (size_t family = 0; family < sizeof families / sizeof *families; family++) {
    for (const struct scenario *entry = families[family]; entry->id; entry++) {
      if (strcmp(entry->id, id) != 0) continue;
      entry->run(attack);
      fflush(attack->out);
      return 0;
    }
  }
  return -1;
}
