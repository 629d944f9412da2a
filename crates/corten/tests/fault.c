/* Kills one process of a start, or fails one system call of it, at its Nth call.
 *
 *   fault REPORT ROLE N kill|ERRNO PID all|command PROGRAM ARGUMENT...
 *
 * strace's inject counts for each process by itself, so it cannot say "the monitor's 80th call": here the
 * processes are numbered by birth (0 the command, 1 its monitor, 2 the container's first process, 3 the
 * program). REPORT gets "hit CALL-NUMBER" if the fault happened; with N = 0 one line "ROLE COUNT CALLS..."
 * for each process. After the hit all are let go. Ends with the command's own exit code. PID, unless 0, is a
 * process that lives already: it is number 0 then, and the command number 1. With "command" all are let go when
 * the command has ended, hit or not.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <linux/ptrace.h>
#include <unistd.h>

enum { ROLES = 64, CALLS = 4096 };

static pid_t pids[ROLES];
static int born, counts[ROLES], calls[ROLES][CALLS];

static int role_of(pid_t pid)
{
	for (int role = 0; role < born; role++)
		if (pids[role] == pid)
			return role;
	return -1;
}

static void birth(pid_t pid)
{
	if (role_of(pid) < 0 && born < ROLES)
		pids[born++] = pid;
}

int main(int argc, char **argv)
{
	if (argc < 8)
		return 120;
	FILE *report = fopen(argv[1], "we");
	int role = atoi(argv[2]), nth = atoi(argv[3]);
	int killing = !strcmp(argv[4], "kill"), error = atoi(argv[4]);
	pid_t other = atoi(argv[5]);
	int with_command = !strcmp(argv[6], "command");
	int go[2];
	char none;
	if (pipe(go))
		return 120;
	pid_t first = fork();
	if (first == 0) {
		close(go[1]);
		read(go[0], &none, 1);
		close(go[0]);
		execvp(argv[7], argv + 7);
		_exit(121);
	}
	int status, code = 0, hit = 0, executed = 0;
	pid_t failing = 0;
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
		       PTRACE_O_TRACEEXEC;
	if (other) {
		if (ptrace(PTRACE_SEIZE, other, 0, options) || ptrace(PTRACE_INTERRUPT, other, 0, 0))
			return 122;
		birth(other);
	}
	/* Seized, a process that is born is not stopped by a signal, which would outlive us. */
	if (ptrace(PTRACE_SEIZE, first, 0, options) || ptrace(PTRACE_INTERRUPT, first, 0, 0))
		return 122;
	close(go[0]);
	close(go[1]);
	birth(first);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0 && errno == EINTR)
			continue;
		/* All are gone, one of them before its birth was told. */
		if (pid < 0 && errno == ECHILD)
			break;
		if (pid < 0)
			return 122;
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			/* Counting waits for all, a fault only for the command. */
			int left = 0;
			for (int r = 0; r < born; r++) {
				if (pids[r] == pid)
					pids[r] = -pid;
				left += pids[r] > 0;
			}
			if (pid == first)
				code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			int ended = role_of(first) < 0;
			if (nth ? ended && (hit || !left || with_command) : !left || (ended && with_command))
				break;
			continue;
		}
		int signal = WSTOPSIG(status), event = status >> 16;
		if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
			unsigned long child;
			ptrace(PTRACE_GETEVENTMSG, pid, 0, &child);
			birth(child);
			signal = 0;
		} else if (event) {
			/* A new process stops so, perhaps before its birth is told. */
			birth(pid);
			signal = 0;
		} else if (signal == (SIGTRAP | 0x80)) {
			struct ptrace_syscall_info info = {0};
			ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
			int who = role_of(pid);
			signal = 0;
			if (pid == failing && info.op == PTRACE_SYSCALL_INFO_EXIT) {
				ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), -(long)error);
				failing = 0;
			} else if (info.op == PTRACE_SYSCALL_INFO_ENTRY && who >= 0 && !hit) {
				/* What comes before the command is executed is ours. */
				executed |= info.entry.nr == SYS_execve;
				if (!executed)
					goto on;
				if (counts[who] < CALLS)
					calls[who][counts[who]] = info.entry.nr;
				if (++counts[who] == nth && who == role) {
					hit = 1;
					fprintf(report, "hit %d\n", (int)info.entry.nr);
					fflush(report);
					if (killing) {
						kill(pid, SIGKILL);
						continue;
					}
					/*
					 * No such call: the kernel does nothing. The error is put in at the
					 * exit. A close that fails has closed all the same.
					 */
					if (info.entry.nr != SYS_close && info.entry.nr != SYS_close_range)
						ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1L);
					failing = pid;
				}
			}
		}
	on:
		if (hit && !failing)
			ptrace(PTRACE_DETACH, pid, 0, signal);
		else
			ptrace(PTRACE_SYSCALL, pid, 0, signal);
	}
	if (!nth)
		for (int r = 0; r < born; r++) {
			fprintf(report, "%d %d", r, counts[r]);
			for (int c = 0; c < counts[r] && c < CALLS; c++)
				fprintf(report, " %d", calls[r][c]);
			fputc('\n', report);
		}
	fclose(report);
	return code;
}
