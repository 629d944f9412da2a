/* Makes a filter of libseccomp from lines on stdin and writes its BPF to stdout:
 *   default RET | arch NAME | rule RET NAME COUNT {INDEX OP VALUE VALUE_TWO}*
 * RET is the value that the filter returns, OP the number in libseccomp's enum. */
#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	scmp_filter_ctx ctx = NULL;
	char word[64], name[64];
	uint32_t ret;
	unsigned count;

	while (scanf("%63s", word) == 1) {
		if (!strcmp(word, "default")) {
			if (scanf("%" SCNu32, &ret) != 1 || !(ctx = seccomp_init(ret)))
				return 2;
			if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS))
				return 3;
		} else if (!strcmp(word, "arch")) {
			int rc;
			if (scanf("%63s", name) != 1)
				return 4;
			rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(name));
			if (rc && rc != -EEXIST)
				return 5;
		} else if (!strcmp(word, "rule")) {
			struct scmp_arg_cmp args[6];
			int nr, rc;
			if (scanf("%" SCNu32 " %63s %u", &ret, name, &count) != 3 || count > 6)
				return 6;
			for (unsigned at = 0; at < count; at++) {
				unsigned op;
				if (scanf("%u %u %" SCNu64 " %" SCNu64, &args[at].arg, &op,
					  &args[at].datum_a, &args[at].datum_b) != 4)
					return 7;
				args[at].op = op;
			}
			nr = seccomp_syscall_resolve_name(name);
			if (nr == __NR_SCMP_ERROR)
				continue;
			rc = seccomp_rule_add_array(ctx, ret, nr, count, args);
			/* The default action again, the same rule again, a call that an ABI lacks. */
			if (rc && rc != -EACCES && rc != -EEXIST && rc != -EDOM) {
				fprintf(stderr, "%s: %s\n", name, strerror(-rc));
				return 8;
			}
		}
	}
	return seccomp_export_bpf(ctx, 1) ? 9 : 0;
}
