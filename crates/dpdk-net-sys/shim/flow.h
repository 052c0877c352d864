/*
 * Flow rules (rte_flow). A rule is described by structures of ours, which do
 * not change from release to release: headers as they are on the wire, and
 * actions as numbers. DPDK's structures, with their unions, bit-fields and
 * fields that were renamed over time, are made of them here.
 */
#ifndef DPDK_NET_FLOW_H
#define DPDK_NET_FLOW_H

#include <rte_flow.h>

/* What a pattern item matches; the values are not DPDK's. */
enum dn_flow_header {
	DN_FLOW_ETH,
	DN_FLOW_VLAN, /* tag control information, then the inner EtherType */
	DN_FLOW_IPV4,
	DN_FLOW_IPV6,
	DN_FLOW_TCP,
	DN_FLOW_UDP,
	DN_FLOW_ICMP,
	DN_FLOW_ICMP6, /* type, code, checksum */
};

/* Bytes of the longest of these headers, IPv6's. */
static const size_t DN_FLOW_HEADER_LEN = 40;

/* Headers in network byte order. */
struct dn_flow_item {
	uint32_t header; /* enum dn_flow_header */
	uint8_t has_spec; /* 0: whatever is in the header */
	uint8_t has_last;
	/* IPv6: whether the packet has a fragment header. */
	uint8_t frag_spec;
	uint8_t frag_mask;
	uint8_t spec[40];
	uint8_t last[40];
	uint8_t mask[40];
};

enum dn_flow_action_kind {
	DN_FLOW_QUEUE, /* value: the queue */
	DN_FLOW_RSS,
	DN_FLOW_DROP,
	DN_FLOW_MARK, /* value: the mark */
	DN_FLOW_COUNT,
	DN_FLOW_JUMP, /* value: the group */
	DN_FLOW_PASSTHRU,
};

struct dn_flow_action {
	uint32_t kind; /* enum dn_flow_action_kind */
	uint32_t value;
	/* Of RSS alone: */
	uint64_t rss_types;
	const uint16_t *rss_queues;
	uint32_t rss_queue_count;
	uint32_t rss_key_len; /* 0: the driver's key */
	const uint8_t *rss_key;
};

struct dn_flow_rule {
	uint32_t group;
	uint32_t priority;
	uint8_t ingress;
	uint8_t egress;
	uint8_t transfer;
	const struct dn_flow_item *items;
	uint32_t item_count;
	const struct dn_flow_action *actions;
	uint32_t action_count;
};

/* struct rte_flow_error, its cause as an index. */
struct dn_flow_error {
	int32_t type; /* enum rte_flow_error_type */
	int32_t item; /* -1: none of them */
	int32_t action; /* likewise */
	char message[256];
};

struct dn_flow_count {
	uint8_t has_packets;
	uint8_t has_bytes;
	uint64_t packets;
	uint64_t bytes;
};

/* 0 or a negative errno. error is written in any case. */
int dn_flow_validate(uint16_t port, const struct dn_flow_rule *rule, struct dn_flow_error *error);
/* NULL with rte_errno set on failure. */
struct rte_flow *dn_flow_create(uint16_t port, const struct dn_flow_rule *rule, struct dn_flow_error *error);
int dn_flow_destroy(uint16_t port, struct rte_flow *flow, struct dn_flow_error *error);
int dn_flow_query_count(uint16_t port, struct rte_flow *flow, uint8_t reset, struct dn_flow_count *count,
			struct dn_flow_error *error);
int dn_flow_flush(uint16_t port, struct dn_flow_error *error);
int dn_flow_isolate(uint16_t port, int set, struct dn_flow_error *error);

/* enum rte_flow_error_type, as bindgen sees it. */
static const int32_t DN_FLOW_ERROR_NONE = RTE_FLOW_ERROR_TYPE_NONE;
static const int32_t DN_FLOW_ERROR_UNSPECIFIED = RTE_FLOW_ERROR_TYPE_UNSPECIFIED;
static const int32_t DN_FLOW_ERROR_HANDLE = RTE_FLOW_ERROR_TYPE_HANDLE;
static const int32_t DN_FLOW_ERROR_ATTR_GROUP = RTE_FLOW_ERROR_TYPE_ATTR_GROUP;
static const int32_t DN_FLOW_ERROR_ATTR_PRIORITY = RTE_FLOW_ERROR_TYPE_ATTR_PRIORITY;
static const int32_t DN_FLOW_ERROR_ATTR_INGRESS = RTE_FLOW_ERROR_TYPE_ATTR_INGRESS;
static const int32_t DN_FLOW_ERROR_ATTR_EGRESS = RTE_FLOW_ERROR_TYPE_ATTR_EGRESS;
static const int32_t DN_FLOW_ERROR_ATTR_TRANSFER = RTE_FLOW_ERROR_TYPE_ATTR_TRANSFER;
static const int32_t DN_FLOW_ERROR_ATTR = RTE_FLOW_ERROR_TYPE_ATTR;
static const int32_t DN_FLOW_ERROR_ITEM_NUM = RTE_FLOW_ERROR_TYPE_ITEM_NUM;
static const int32_t DN_FLOW_ERROR_ITEM_SPEC = RTE_FLOW_ERROR_TYPE_ITEM_SPEC;
static const int32_t DN_FLOW_ERROR_ITEM_LAST = RTE_FLOW_ERROR_TYPE_ITEM_LAST;
static const int32_t DN_FLOW_ERROR_ITEM_MASK = RTE_FLOW_ERROR_TYPE_ITEM_MASK;
static const int32_t DN_FLOW_ERROR_ITEM = RTE_FLOW_ERROR_TYPE_ITEM;
static const int32_t DN_FLOW_ERROR_ACTION_NUM = RTE_FLOW_ERROR_TYPE_ACTION_NUM;
static const int32_t DN_FLOW_ERROR_ACTION_CONF = RTE_FLOW_ERROR_TYPE_ACTION_CONF;
static const int32_t DN_FLOW_ERROR_ACTION = RTE_FLOW_ERROR_TYPE_ACTION;
static const int32_t DN_FLOW_ERROR_STATE = RTE_FLOW_ERROR_TYPE_STATE;

#endif
