/*
 * DPDK's telemetry: commands of ours on its socket. The functions that put
 * numbers into an answer were renamed in 23.03.
 */
#ifndef DPDK_NET_TELEMETRY_H
#define DPDK_NET_TELEMETRY_H

#include <rte_telemetry.h>

/* Bytes of a name or text in an answer, and entries of one, at most. */
static const size_t DN_TEL_STRING_LEN = RTE_TEL_MAX_STRING_LEN;
static const size_t DN_TEL_DICT_ENTRIES = RTE_TEL_MAX_DICT_ENTRIES;
static const size_t DN_TEL_ARRAY_ENTRIES = RTE_TEL_MAX_ARRAY_ENTRIES;

/* What rte_telemetry_register_cmd takes. */
int dn_telemetry_register(const char *cmd,
			  int (*answer)(const char *cmd, const char *params, struct rte_tel_data *data),
			  const char *help);

/* Make an answer; 0 or a negative errno. */
int dn_tel_dict(struct rte_tel_data *data);
int dn_tel_dict_number(struct rte_tel_data *data, const char *name, uint64_t value);
int dn_tel_strings(struct rte_tel_data *data);
int dn_tel_string(struct rte_tel_data *data, const char *text);

#endif
