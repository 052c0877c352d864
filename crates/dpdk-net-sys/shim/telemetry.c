/* DPDK's telemetry: see telemetry.h. */
#include <rte_version.h>

#include "shim.h"

int dn_telemetry_register(const char *cmd,
			  int (*answer)(const char *cmd, const char *params, struct rte_tel_data *data),
			  const char *help)
{
	return rte_telemetry_register_cmd(cmd, answer, help);
}

int dn_tel_dict(struct rte_tel_data *data)
{
	return rte_tel_data_start_dict(data);
}

int dn_tel_dict_number(struct rte_tel_data *data, const char *name, uint64_t value)
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	return rte_tel_data_add_dict_uint(data, name, value);
#else
	return rte_tel_data_add_dict_u64(data, name, value);
#endif
}

int dn_tel_strings(struct rte_tel_data *data)
{
	return rte_tel_data_start_array(data, RTE_TEL_STRING_VAL);
}

int dn_tel_string(struct rte_tel_data *data, const char *text)
{
	return rte_tel_data_add_array_string(data, text);
}
