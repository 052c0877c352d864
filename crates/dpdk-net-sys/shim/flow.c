/*
 * Flow rules: see flow.h. Nothing here checks or decides, that is the Rust
 * side's; but no rule can make this write beyond its arrays.
 */
#include <string.h>

#include "shim.h"

/* A header is at the start of each item's structure. */
#define AT_START(item, header) _Static_assert(offsetof(struct rte_flow_item_##item, header) == 0, #item)
AT_START(eth, hdr);
AT_START(vlan, hdr);
AT_START(ipv4, hdr);
AT_START(ipv6, hdr);
AT_START(tcp, hdr);
AT_START(udp, hdr);
AT_START(icmp, hdr);
AT_START(icmp6, type);
_Static_assert(sizeof(struct rte_ipv6_hdr) == 40, "dn_flow_item has room for the longest header");

union header {
	struct rte_flow_item_eth eth;
	struct rte_flow_item_vlan vlan;
	struct rte_flow_item_ipv4 ipv4;
	struct rte_flow_item_ipv6 ipv6;
	struct rte_flow_item_tcp tcp;
	struct rte_flow_item_udp udp;
	struct rte_flow_item_icmp icmp;
	struct rte_flow_item_icmp6 icmp6;
};

union action {
	struct rte_flow_action_queue queue;
	struct rte_flow_action_rss rss;
	struct rte_flow_action_mark mark;
	struct rte_flow_action_count count;
	struct rte_flow_action_jump jump;
};

/* Most items and most actions of a rule: two tags, IP and TCP behind Ethernet are five. */
#define MOST 8

/* A rule as DPDK wants it. Drivers may not keep pointers into it. */
struct rule {
	struct rte_flow_attr attr;
	struct rte_flow_item items[MOST + 1];
	struct rte_flow_action actions[MOST + 1];
	struct {
		union header spec, last, mask;
	} headers[MOST];
	union action confs[MOST];
};

static const struct {
	enum rte_flow_item_type type;
	size_t length;
} headers[] = {
	[DN_FLOW_ETH] = { RTE_FLOW_ITEM_TYPE_ETH, sizeof(struct rte_ether_hdr) },
	[DN_FLOW_VLAN] = { RTE_FLOW_ITEM_TYPE_VLAN, sizeof(struct rte_vlan_hdr) },
	[DN_FLOW_IPV4] = { RTE_FLOW_ITEM_TYPE_IPV4, sizeof(struct rte_ipv4_hdr) },
	[DN_FLOW_IPV6] = { RTE_FLOW_ITEM_TYPE_IPV6, sizeof(struct rte_ipv6_hdr) },
	[DN_FLOW_TCP] = { RTE_FLOW_ITEM_TYPE_TCP, sizeof(struct rte_tcp_hdr) },
	[DN_FLOW_UDP] = { RTE_FLOW_ITEM_TYPE_UDP, sizeof(struct rte_udp_hdr) },
	[DN_FLOW_ICMP] = { RTE_FLOW_ITEM_TYPE_ICMP, sizeof(struct rte_icmp_hdr) },
	[DN_FLOW_ICMP6] = { RTE_FLOW_ITEM_TYPE_ICMP6, 4 },
};

static void make_item(struct rule *rule, uint32_t i, const struct dn_flow_item *from)
{
	struct rte_flow_item *item = &rule->items[i];
	size_t length = headers[from->header].length;

	item->type = headers[from->header].type;
	if (!from->has_spec)
		return;
	memcpy(&rule->headers[i].spec, from->spec, length);
	memcpy(&rule->headers[i].mask, from->mask, length);
	if (from->header == DN_FLOW_IPV6) {
		rule->headers[i].spec.ipv6.has_frag_ext = from->frag_spec;
		rule->headers[i].mask.ipv6.has_frag_ext = from->frag_mask;
	}
	item->spec = &rule->headers[i].spec;
	item->mask = &rule->headers[i].mask;
	if (!from->has_last)
		return;
	memcpy(&rule->headers[i].last, from->last, length);
	if (from->header == DN_FLOW_IPV6)
		rule->headers[i].last.ipv6.has_frag_ext = from->frag_spec;
	item->last = &rule->headers[i].last;
}

static void make_action(struct rule *rule, uint32_t i, const struct dn_flow_action *from)
{
	struct rte_flow_action *action = &rule->actions[i];
	union action *conf = &rule->confs[i];

	action->conf = conf;
	switch ((enum dn_flow_action_kind)from->kind) {
	case DN_FLOW_QUEUE:
		action->type = RTE_FLOW_ACTION_TYPE_QUEUE;
		conf->queue.index = (uint16_t)from->value;
		break;
	case DN_FLOW_RSS:
		action->type = RTE_FLOW_ACTION_TYPE_RSS;
		conf->rss.func = RTE_ETH_HASH_FUNCTION_DEFAULT;
		conf->rss.types = from->rss_types;
		conf->rss.key_len = from->rss_key_len;
		conf->rss.key = from->rss_key_len == 0 ? NULL : from->rss_key;
		conf->rss.queue_num = from->rss_queue_count;
		conf->rss.queue = from->rss_queues;
		break;
	case DN_FLOW_DROP:
		action->type = RTE_FLOW_ACTION_TYPE_DROP;
		action->conf = NULL;
		break;
	case DN_FLOW_MARK:
		action->type = RTE_FLOW_ACTION_TYPE_MARK;
		conf->mark.id = from->value;
		break;
	case DN_FLOW_COUNT:
		action->type = RTE_FLOW_ACTION_TYPE_COUNT;
		break;
	case DN_FLOW_JUMP:
		action->type = RTE_FLOW_ACTION_TYPE_JUMP;
		conf->jump.group = from->value;
		break;
	case DN_FLOW_PASSTHRU:
		action->type = RTE_FLOW_ACTION_TYPE_PASSTHRU;
		action->conf = NULL;
		break;
	}
}

/* 0, or -EINVAL where there are more items or actions than fit, or an unknown header. */
static int make(struct rule *rule, const struct dn_flow_rule *from)
{
	uint32_t i;

	memset(rule, 0, sizeof(*rule));
	if (from->item_count > MOST || from->action_count > MOST)
		return -EINVAL;
	rule->attr.group = from->group;
	rule->attr.priority = from->priority;
	rule->attr.ingress = from->ingress;
	rule->attr.egress = from->egress;
	rule->attr.transfer = from->transfer;
	for (i = 0; i < from->item_count; i++) {
		if (from->items[i].header >= RTE_DIM(headers))
			return -EINVAL;
		make_item(rule, i, &from->items[i]);
	}
	rule->items[i].type = RTE_FLOW_ITEM_TYPE_END;
	for (i = 0; i < from->action_count; i++)
		make_action(rule, i, &from->actions[i]);
	rule->actions[i].type = RTE_FLOW_ACTION_TYPE_END;
	return 0;
}

/* Whether p points into the object; compared as numbers, as it may point anywhere. */
#define WITHIN(p, object) ((uintptr_t)(p) - (uintptr_t)&(object) < sizeof(object))

static void explain(struct dn_flow_error *to, const struct rte_flow_error *from, const struct rule *rule)
{
	const void *cause = from->cause;
	int32_t i;

	memset(to, 0, sizeof(*to));
	to->type = (int32_t)from->type;
	to->item = -1;
	to->action = -1;
	if (from->message != NULL)
		strncpy(to->message, from->message, sizeof(to->message) - 1);
	for (i = 0; rule != NULL && cause != NULL && i < MOST; i++) {
		if (WITHIN(cause, rule->items[i]) || WITHIN(cause, rule->headers[i]))
			to->item = i;
		if (WITHIN(cause, rule->actions[i]) || WITHIN(cause, rule->confs[i]))
			to->action = i;
	}
}

int dn_flow_validate(uint16_t port, const struct dn_flow_rule *from, struct dn_flow_error *error)
{
	struct rte_flow_error raw = { .type = RTE_FLOW_ERROR_TYPE_NONE };
	struct rule rule;
	int rc = make(&rule, from);

	if (rc == 0)
		rc = rte_flow_validate(port, &rule.attr, rule.items, rule.actions, &raw);
	explain(error, &raw, &rule);
	return rc;
}

struct rte_flow *dn_flow_create(uint16_t port, const struct dn_flow_rule *from, struct dn_flow_error *error)
{
	struct rte_flow_error raw = { .type = RTE_FLOW_ERROR_TYPE_NONE };
	struct rte_flow *flow = NULL;
	struct rule rule;
	int rc = make(&rule, from);

	if (rc == 0)
		flow = rte_flow_create(port, &rule.attr, rule.items, rule.actions, &raw);
	else
		rte_errno = -rc;
	explain(error, &raw, &rule);
	return flow;
}

int dn_flow_destroy(uint16_t port, struct rte_flow *flow, struct dn_flow_error *error)
{
	struct rte_flow_error raw = { .type = RTE_FLOW_ERROR_TYPE_NONE };
	int rc = rte_flow_destroy(port, flow, &raw);

	explain(error, &raw, NULL);
	return rc;
}

int dn_flow_query_count(uint16_t port, struct rte_flow *flow, uint8_t reset, struct dn_flow_count *count,
			struct dn_flow_error *error)
{
	struct rte_flow_error raw = { .type = RTE_FLOW_ERROR_TYPE_NONE };
	struct rte_flow_action_count conf = { .id = 0 };
	struct rte_flow_query_count query = { .reset = reset != 0 };
	struct rte_flow_action action[] = {
		{ .type = RTE_FLOW_ACTION_TYPE_COUNT, .conf = &conf },
		{ .type = RTE_FLOW_ACTION_TYPE_END },
	};
	int rc = rte_flow_query(port, flow, action, &query, &raw);

	explain(error, &raw, NULL);
	count->has_packets = query.hits_set;
	count->has_bytes = query.bytes_set;
	count->packets = query.hits;
	count->bytes = query.bytes;
	return rc;
}

int dn_flow_flush(uint16_t port, struct dn_flow_error *error)
{
	struct rte_flow_error raw = { .type = RTE_FLOW_ERROR_TYPE_NONE };
	int rc = rte_flow_flush(port, &raw);

	explain(error, &raw, NULL);
	return rc;
}

int dn_flow_isolate(uint16_t port, int set, struct dn_flow_error *error)
{
	struct rte_flow_error raw = { .type = RTE_FLOW_ERROR_TYPE_NONE };
	int rc = rte_flow_isolate(port, set, &raw);

	explain(error, &raw, NULL);
	return rc;
}
