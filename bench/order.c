// Steps through every instruction of a command and of all that it forks, as long as they run its own program, and
// writes each address once, in the order of their first use. bench/order.sh makes names of them.
//
// usage: order LOW HIGH OUTPUT PROGRAM [ARGUMENT...]     LOW and HIGH: the program's code, in hexadecimal
#define _GNU_SOURCE
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

// Whether a process runs the program: init executes it from a mount without a name.
static int is_ours(pid_t pid, const struct stat *program) {
  char path[64];
  struct stat its;
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  return !stat(path, &its) && its.st_ino == program->st_ino && its.st_dev == program->st_dev;
}

int main(int argc, char **argv) {
  if (argc < 5) errx(2, "usage: order LOW HIGH OUTPUT PROGRAM [ARGUMENT...]");
  unsigned long low = strtoul(argv[1], 0, 16), high = strtoul(argv[2], 0, 16);
  uint8_t *seen = high > low ? calloc(high - low, 1) : NULL;
  FILE *out = fopen(argv[3], "w");
  struct stat program;
  if (!seen || !out || stat(argv[4], &program)) err(1, "%s", argv[4]);
  pid_t child = fork();
  if (!child) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    execv(argv[4], argv + 4);
    _exit(127);
  }
  int status;
  if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status)) errx(1, "%s does not run", argv[4]);
  if (ptrace(PTRACE_SETOPTIONS, child, 0,
             PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL))
    err(1, "PTRACE_SETOPTIONS");
  ptrace(PTRACE_SINGLESTEP, child, 0, 0);
  pid_t pid;
  while ((pid = waitpid(-1, &status, __WALL)) > 0) {
    if (!WIFSTOPPED(status)) continue;
    int signal = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_EXEC && !is_ours(pid, &program)) {
      ptrace(PTRACE_DETACH, pid, 0, 0);
      continue;
    }
    struct user_regs_struct regs;
    if (signal == SIGTRAP && !event && !ptrace(PTRACE_GETREGS, pid, 0, &regs) && regs.rip >= low && regs.rip < high &&
        !seen[regs.rip - low]) {
      seen[regs.rip - low] = 1;
      fprintf(out, "%llx\n", regs.rip);
    }
    int deliver = event || signal == SIGTRAP || signal == SIGSTOP ? 0 : signal;
    ptrace(PTRACE_SINGLESTEP, pid, 0, (void *)(long)deliver);
  }
  return fclose(out) ? 1 : 0;
}
