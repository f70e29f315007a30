/* A C-STORE SCP that discards: accepts every presentation context, answers 0x0000, writes down when each
 * instance was complete and how long its data set was.
 *
 *   sink PORT FILE MOST
 *
 * FILE is a shared mapping: a 64 bit count, then MOST records of {double seconds (CLOCK_MONOTONIC), 64 bit bytes,
 * 64 bit hash of the SOP Instance UID}.
 * PS3.8 section 9.3 (PDUs), PS3.7 section 9.3.1 (C-STORE) and 9.3.5 (C-ECHO). One thread per association.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 21)
#define MAX_PDU (1 << 18)

struct record { double seconds; uint64_t bytes, uid; };
struct shared { _Atomic uint64_t count; struct record records[]; };

static struct shared *shared;
static uint64_t most;

struct peer {
    int fd;
    uint8_t *buffer;
    size_t start, end;
    uint8_t command[4096];
    size_t command_length;
    uint64_t bytes;
};

static int fill(struct peer *p, size_t wanted)
{
    if (p->end - p->start >= wanted) return 1;
    if (p->start + wanted > BUFFER) {
        memmove(p->buffer, p->buffer + p->start, p->end - p->start);
        p->end -= p->start;
        p->start = 0;
    }
    while (p->end - p->start < wanted) {
        ssize_t got = recv(p->fd, p->buffer + p->end, BUFFER - p->end, 0);
        if (got <= 0) return 0;
        p->end += (size_t)got;
    }
    return 1;
}

static int discard(struct peer *p, size_t count)
{
    size_t here = p->end - p->start;
    if (here > count) here = count;
    p->start += here;
    count -= here;
    while (count) {
        p->start = p->end = 0;
        ssize_t got = recv(p->fd, p->buffer, BUFFER, 0);
        if (got <= 0) return 0;
        size_t used = (size_t)got > count ? count : (size_t)got;
        p->start = used;
        p->end = (size_t)got;
        count -= used;
    }
    return 1;
}

static int send_all(int fd, const uint8_t *data, size_t length)
{
    while (length) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent <= 0) return 0;
        data += sent;
        length -= (size_t)sent;
    }
    return 1;
}

static void put32(uint8_t *at, uint32_t value) { value = htonl(value); memcpy(at, &value, 4); }
static uint32_t get32(const uint8_t *at) { uint32_t value; memcpy(&value, at, 4); return ntohl(value); }
static uint32_t little32(const uint8_t *at) { return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24; }
static uint32_t little16(const uint8_t *at) { return at[0] | at[1] << 8; }

static size_t item(uint8_t *at, uint8_t kind, const void *data, size_t length)
{
    at[0] = kind;
    at[1] = 0;
    at[2] = (uint8_t)(length >> 8);
    at[3] = (uint8_t)length;
    memcpy(at + 4, data, length);
    return 4 + length;
}

static int accept_association(struct peer *p, const uint8_t *request, size_t length)
{
    static const char application[] = "1.2.840.10008.3.1.1.1", class_uid[] = "1.2.826.0.1.3680043.10.1337.88";
    uint8_t *answer = malloc(1 << 17);
    size_t at = 74;
    memset(answer, 0, 74);
    answer[0] = 2;
    answer[7] = 1;
    memcpy(answer + 10, request + 10, 64);
    at += item(answer + at, 0x10, application, sizeof application - 1);
    for (size_t i = 74; i + 4 <= length;) {
        size_t size = (size_t)(request[i + 2] << 8 | request[i + 3]);
        if (request[i] == 0x20) {
            uint8_t context[128] = {request[i + 4], 0, 0, 0};
            size_t used = 4;
            for (size_t j = i + 8; j + 4 <= i + 4 + size;) {
                size_t part = (size_t)(request[j + 2] << 8 | request[j + 3]);
                if (request[j] == 0x40) {
                    used += item(context + 4, 0x40, request + j + 4, part > 100 ? 100 : part);
                    break;
                }
                j += 4 + part;
            }
            at += item(answer + at, 0x21, context, used);
        }
        i += 4 + size;
    }
    uint8_t user[128], longest[4];
    put32(longest, MAX_PDU);
    size_t used = item(user, 0x51, longest, 4);
    used += item(user + used, 0x52, class_uid, sizeof class_uid - 1);
    at += item(answer + at, 0x50, user, used);
    put32(answer + 2, (uint32_t)(at - 6));
    int good = send_all(p->fd, answer, at);
    free(answer);
    return good;
}

static size_t element(uint8_t *at, uint16_t number, const void *value, uint32_t length)
{
    uint8_t head[8] = {0, 0, (uint8_t)number, (uint8_t)(number >> 8), (uint8_t)length, (uint8_t)(length >> 8), 0, 0};
    memcpy(at, head, 8);
    memcpy(at + 8, value, length);
    return 8 + length;
}

static int respond(struct peer *p, uint8_t context)
{
    const uint8_t *class_uid = NULL, *instance = NULL, *id = NULL;
    uint32_t class_length = 0, instance_length = 0, field = 1;
    for (size_t i = 0; i + 8 <= p->command_length;) {
        const uint8_t *at = p->command + i;
        uint32_t number = little16(at + 2), length = little32(at + 4);
        if (number == 0x0002) class_uid = at + 8, class_length = length;
        if (number == 0x0100) field = little16(at + 8);
        if (number == 0x0110) id = at + 8;
        if (number == 0x1000) instance = at + 8, instance_length = length;
        i += 8 + length;
    }
    uint8_t answer[1024], two[2];
    size_t at = 12 + 12;
    at += element(answer + at, 0x0002, class_uid ? (const char *)class_uid : "", class_length);
    two[0] = (uint8_t)field;
    two[1] = 0x80;
    at += element(answer + at, 0x0100, two, 2);
    at += element(answer + at, 0x0120, id ? (const char *)id : "\0\0", 2);
    at += element(answer + at, 0x0800, "\1\1", 2);
    at += element(answer + at, 0x0900, "\0\0", 2);
    if (instance) at += element(answer + at, 0x1000, instance, instance_length);
    uint32_t group = (uint32_t)(at - 24);
    uint8_t length[4] = {(uint8_t)group, (uint8_t)(group >> 8), 0, 0};
    element(answer + 12, 0x0000, length, 4);
    answer[0] = 4;
    answer[1] = 0;
    put32(answer + 2, (uint32_t)(at - 6));
    put32(answer + 6, (uint32_t)(at - 10));
    answer[10] = context;
    answer[11] = 3;
    p->command_length = 0;
    return send_all(p->fd, answer, at);
}

static uint64_t instance_hash(const struct peer *p)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i + 8 <= p->command_length; i += 8 + little32(p->command + i + 4)) {
        const uint8_t *at = p->command + i;
        if (little16(at + 2) != 0x1000) continue;
        uint32_t length = little32(at + 4);
        for (uint32_t j = 0; j < length && i + 8 + j < p->command_length && at[8 + j]; j++)
            hash = (hash ^ at[8 + j]) * 1099511628211u;
    }
    return hash;
}

static void note(const struct peer *p)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t at = atomic_fetch_add(&shared->count, 1);
    double seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    if (at < most) shared->records[at] = (struct record){seconds, p->bytes, instance_hash(p)};
}

static int has_data_set(const struct peer *p)
{
    for (size_t i = 0; i + 8 <= p->command_length;) {
        const uint8_t *at = p->command + i;
        if (little16(at + 2) == 0x0800) return little16(at + 8) != 0x0101;
        i += 8 + little32(at + 4);
    }
    return 0;
}

static int data_pdu(struct peer *p, size_t left)
{
    while (left) {
        if (left < 6 || !fill(p, 6)) return 0;
        uint32_t length = get32(p->buffer + p->start);
        uint8_t context = p->buffer[p->start + 4], flags = p->buffer[p->start + 5];
        p->start += 6;
        if (length < 2 || length + 4 > left) return 0;
        left -= length + 4;
        length -= 2;
        if (flags & 1) {
            if (p->command_length + length > sizeof p->command || !fill(p, length)) return 0;
            memcpy(p->command + p->command_length, p->buffer + p->start, length);
            p->command_length += length;
            p->start += length;
            p->bytes = 0;
            if (flags & 2 && !has_data_set(p) && !respond(p, context)) return 0;
        } else {
            if (!discard(p, length)) return 0;
            p->bytes += length;
            if (flags & 2) {
                note(p);
                if (!respond(p, context)) return 0;
            }
        }
    }
    return 1;
}

static void *serve(void *argument)
{
    static const uint8_t released[10] = {6, 0, 0, 0, 0, 4};
    struct peer *p = argument;
    for (int good = 1; good && fill(p, 6);) {
        uint8_t kind = p->buffer[p->start];
        uint32_t length = get32(p->buffer + p->start + 2);
        if (kind == 4) {
            p->start += 6;
            good = data_pdu(p, length);
        } else if (kind == 1 && length + 6 <= BUFFER && fill(p, length + 6)) {
            good = accept_association(p, p->buffer + p->start, length + 6);
            p->start += length + 6;
        } else {
            if (kind == 5) send_all(p->fd, released, sizeof released);
            good = 0;
        }
    }
    shutdown(p->fd, SHUT_WR);
    close(p->fd);
    free(p->buffer);
    free(p);
    return NULL;
}

int main(int count, char **arguments)
{
    if (count != 4) return 2;
    most = strtoull(arguments[3], NULL, 10);
    size_t size = sizeof(struct shared) + most * sizeof(struct record);
    int file = open(arguments[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ftruncate(file, (off_t)size)) return 1;
    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) return 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) return 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct peer *p = calloc(1, sizeof *p);
        p->fd = fd;
        p->buffer = malloc(BUFFER);
        pthread_t thread;
        if (!p->buffer || pthread_create(&thread, NULL, serve, p)) return 1;
        pthread_detach(thread);
    }
}
