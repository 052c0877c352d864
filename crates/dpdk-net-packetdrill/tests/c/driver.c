/* Drives the shared object as packetdrill does, in C: the same structure, the same flags of dlopen, a thread of its own for
 * calls that block, which was there before the object was loaded, and the C library's close() for what a script leaves open.
 *
 * usage: driver OBJECT [preloaded]    "preloaded": OBJECT is in LD_PRELOAD too. Exits with 0 if all is as it should be.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHECK(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "line %d: %s (errno %d: %s)\n", __LINE__, #what, errno, strerror(errno)); \
			exit(1); \
		} \
	} while (0)

struct interface {
	void *data;
	void (*free)(void *);
	int (*socket)(void *, int, int, int);
	int (*bind)(void *, int, const struct sockaddr *, socklen_t);
	int (*listen)(void *, int, int);
	int (*accept)(void *, int, struct sockaddr *, socklen_t *);
	int (*connect)(void *, int, const struct sockaddr *, socklen_t);
	ssize_t (*read)(void *, int, void *, size_t);
	ssize_t (*readv)(void *, int, const struct iovec *, int);
	ssize_t (*recv)(void *, int, void *, size_t, int);
	ssize_t (*recvfrom)(void *, int, void *, size_t, int, struct sockaddr *, socklen_t *);
	ssize_t (*recvmsg)(void *, int, struct msghdr *, int);
	ssize_t (*write)(void *, int, const void *, size_t);
	ssize_t (*writev)(void *, int, const struct iovec *, int);
	ssize_t (*send)(void *, int, const void *, size_t, int);
	ssize_t (*sendto)(void *, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	ssize_t (*sendmsg)(void *, int, const struct msghdr *, int);
	int (*fcntl)(void *, int, int, ...);
	int (*ioctl)(void *, int, unsigned long, ...);
	int (*close)(void *, int);
	int (*shutdown)(void *, int, int);
	int (*getsockopt)(void *, int, int, int, void *, socklen_t *);
	int (*setsockopt)(void *, int, int, int, const void *, socklen_t);
	int (*poll)(void *, struct pollfd *, nfds_t, int);
	int (*netdev_send)(void *, const void *, size_t);
	int (*netdev_receive)(void *, void *, size_t *, long long *);
	int (*usleep)(void *, useconds_t);
	int (*gettimeofday)(void *, struct timeval *, struct timezone *);
	int (*epoll_create)(void *, int);
	int (*epoll_ctl)(void *, int, int, int, struct epoll_event *);
	int (*epoll_wait)(void *, int, struct epoll_event *, int, int);
	int (*pipe)(void *, int[2]);
	int (*splice)(void *, int, loff_t *, int, loff_t *, size_t, unsigned int);
};

static struct interface so;

/* The thread for calls that block. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static enum { IDLE, ASKED, RUNNING, EXITING } state;
static pid_t thread_id;
static int (*work)(int);
static int work_fd, work_result;
static long long work_end;

static long long now(void)
{
	struct timeval tv;

	CHECK(so.gettimeofday(so.data, &tv, NULL) == 0);
	return tv.tv_sec * 1000000LL + tv.tv_usec;
}

/* Sleeps until shortly before, and reads the clock until it is time. */
static void wait_until(long long at)
{
	long long left = at - now();

	if (left > 20)
		so.usleep(so.data, left - 20);
	while (now() < at)
		;
}

static void *blocking_calls(void *unused)
{
	pthread_mutex_lock(&lock);
	thread_id = syscall(SYS_gettid);
	pthread_cond_broadcast(&changed);
	while (state != EXITING) {
		if (state != ASKED) {
			pthread_cond_wait(&changed, &lock);
			continue;
		}
		state = RUNNING;
		pthread_mutex_unlock(&lock);
		pthread_cond_broadcast(&changed);
		int result = work(work_fd);
		long long end = now();

		pthread_mutex_lock(&lock);
		work_result = result;
		work_end = end;
		state = IDLE;
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&lock);
	return unused;
}

static int is_sleeping(void)
{
	char path[64], text[1024] = "";
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", getpid(), thread_id);
	int fd = open(path, O_RDONLY);

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && close(fd) == 0);
	return strstr(text, ") S ") != NULL;
}

/* Starts a call that blocks; returns once it does, or is over. */
static void start(int (*call)(int), int fd)
{
	CHECK(state == IDLE);
	work = call;
	work_fd = fd;
	state = ASKED;
	pthread_cond_broadcast(&changed);
	while (state == ASKED)
		pthread_cond_wait(&changed, &lock);
	for (int done = 0; !done;) {
		pthread_mutex_unlock(&lock);
		sched_yield();
		done = is_sleeping();
		pthread_mutex_lock(&lock);
		done = done || state == IDLE;
	}
}

/* Waits for it as packetdrill does: a second. */
static void finish(int result, long long at)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 1;
	while (state != IDLE)
		CHECK(pthread_cond_timedwait(&changed, &lock, &limit) == 0);
	CHECK(result < 0 ? work_result >= 0 : work_result == result);
	CHECK(work_end >= at && work_end <= at + 100);
}

static int do_accept(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int result = so.accept(so.data, fd, (struct sockaddr *)&addr, &len);

	CHECK(addr.ss_family == AF_INET && len == sizeof(struct sockaddr_in));
	CHECK(((struct sockaddr_in *)&addr)->sin_port == htons(40000));
	return result;
}

static int do_read(int fd)
{
	char data[1000];

	return so.read(so.data, fd, data, sizeof(data));
}

static int do_poll(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	return so.poll(so.data, &entry, 1, 300);
}

static uint16_t sum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? at[i] : at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static struct in_addr local, remote;

/* A segment of the peer. */
static void inject(int flags, uint32_t seq, uint32_t ack, size_t payload)
{
	uint8_t packet[1500] = { 0x45, 0, 0, 0, 0, 0, 0x40, 0, 255, IPPROTO_TCP };
	uint8_t *tcp = packet + 20;
	size_t len = 20 + payload;
	uint16_t half;

	memcpy(packet + 12, &remote, 4);
	memcpy(packet + 16, &local, 4);
	half = htons(20 + len), memcpy(packet + 2, &half, 2);
	half = htons(sum(packet, 20, 0)), memcpy(packet + 10, &half, 2);
	half = htons(40000), memcpy(tcp, &half, 2);
	half = htons(8080), memcpy(tcp + 2, &half, 2);
	seq = htonl(seq), memcpy(tcp + 4, &seq, 4);
	ack = htonl(ack), memcpy(tcp + 8, &ack, 4);
	tcp[12] = 0x50;
	tcp[13] = flags;
	half = htons(60000), memcpy(tcp + 14, &half, 2);
	half = htons(sum(tcp, len, (uint16_t)~sum(packet + 12, 8, IPPROTO_TCP + len)));
	memcpy(tcp + 16, &half, 2);
	CHECK(so.netdev_send(so.data, packet, 20 + len) == 0);
}

/* The next packet: its TCP header is given, its time told. Asks again as long as there is none. */
static uint8_t *sniff(long long *at)
{
	static uint8_t packet[65536];
	size_t len;

	do
		len = sizeof(packet);
	while (so.netdev_receive(so.data, packet, &len, at));
	CHECK(len >= 40 && packet[0] == 0x45 && packet[9] == IPPROTO_TCP);
	CHECK(memcmp(packet + 12, &local, 4) == 0 && memcmp(packet + 16, &remote, 4) == 0);
	return packet + 20;
}

static uint32_t word(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return ntohl(value);
}

/* What assertions in a script look at: asked for with the C library's function. */
static void ask(int fd, int preloaded)
{
	uint8_t info[288], through[288];
	socklen_t len = sizeof(info), other = sizeof(through);
	int found = getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len);

	CHECK(so.getsockopt(so.data, fd, IPPROTO_TCP, TCP_INFO, through, &other) == 0);
	CHECK(other == 280 && through[0] == TCP_ESTABLISHED);
	if (!preloaded) {
		CHECK(found == -1);
		return;
	}
	CHECK(found == 0 && len == other && memcmp(info, through, len) == 0);
	len = sizeof(info);
	CHECK(getsockopt(fd, IPPROTO_TCP, 26 /* TCP_CC_INFO */, info, &len) == 0 && len == 0);
	len = sizeof(info);
	CHECK(getsockopt(fd, SOL_SOCKET, 55 /* SO_MEMINFO */, info, &len) == 0 && len == 36);
	/* What is not the stack's is the kernel's. */
	int type = 0, own = socket(AF_INET, SOCK_DGRAM, 0);

	len = sizeof(type);
	CHECK(own >= 0 && getsockopt(own, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM);
	CHECK(close(own) == 0 && getsockopt(own, SOL_SOCKET, SO_TYPE, &type, &len) == -1 && errno == EBADF);
}

static void script(const char *object, const char *address, int preloaded)
{
	pthread_t thread;
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(8080) };
	int queued = 0, one = 1;
	long long begin, at;
	uint32_t isn;

	inet_aton(address, &local);
	inet_aton("192.0.2.1", &remote);
	addr.sin_addr = local;
	/* A file of the driver's own, so that the sockets' numbers are not what they would be alone. */
	int own = open("/dev/null", O_RDONLY);

	pthread_mutex_lock(&lock);
	state = IDLE;
	thread_id = 0;
	CHECK(own >= 0 && pthread_create(&thread, NULL, blocking_calls, NULL) == 0);
	while (!thread_id)
		pthread_cond_wait(&changed, &lock);

	void *handle = dlopen(object, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | RTLD_DEEPBIND);

	if (!handle)
		fprintf(stderr, "%s\n", dlerror());
	CHECK(handle);
	void (*init)(const char *, struct interface *) = dlsym(handle, "packetdrill_interface_init");

	CHECK(init);
	memset(&so, 0, sizeof(so));
	init(NULL, &so);
	begin = now() + 250;
	wait_until(begin);

	int listener = so.socket(so.data, AF_INET, SOCK_STREAM, IPPROTO_TCP);

	CHECK(listener > own);
	CHECK(so.setsockopt(so.data, listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	CHECK(so.bind(so.data, listener, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	CHECK(so.listen(so.data, listener, 1) == 0);
	CHECK(so.fcntl(so.data, listener, F_GETFL) == O_RDWR);
	start(do_accept, listener);
	wait_until(begin + 100000);
	inject(2, 0, 0, 0);
	uint8_t *answer = sniff(&at);

	CHECK(answer[13] == 0x12 && word(answer + 8) == 1 && at >= begin + 100000 && at <= begin + 100100);
	isn = word(answer + 4) + 1;
	wait_until(begin + 200000);
	inject(0x10, 1, isn, 0);
	finish(-1, begin + 200000);
	int fd = work_result;

	CHECK(fd != listener && fd != own);
	ask(fd, preloaded);
	start(do_read, fd);
	wait_until(begin + 300000);
	inject(0x18, 1, isn, 500);
	finish(500, begin + 300000);
	answer = sniff(&at);
	CHECK(answer[13] == 0x10 && word(answer + 8) == 501);
	inject(0x18, 501, isn, 7);
	CHECK(so.ioctl(so.data, fd, FIONREAD, &queued) == 0 && queued == 7);
	CHECK(do_read(fd) == 7);
	CHECK(so.fcntl(so.data, fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0);
	CHECK(do_read(fd) == -1 && errno == EAGAIN);
	/* The last call of the script blocks until its time is up, and nobody moves the clock. */
	at = now();
	start(do_poll, fd);
	finish(0, at + 300000);

	/* The end: the thread first, then what is open, by the C library's close(), and a RST. */
	state = EXITING;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(close(fd) == 0 && close(listener) == 0);
	inject(0x14, 508, isn, 0);
	int late = open("/dev/null", O_RDONLY);

	so.free(so.data);
	CHECK(fcntl(late, F_GETFD) >= 0 && close(late) == 0);
	CHECK(dlclose(handle) == 0 && close(own) == 0);
}

int main(int argc, char **argv)
{
	CHECK(argc >= 2);
	/* Two scripts on one command line. */
	script(argv[1], "192.168.44.55", argc > 2);
	script(argv[1], "192.168.66.77", argc > 2);
	puts("as it should be");
	return 0;
}
