/* Stands between a node and its disk: preloaded, it lets syncs fail or wait as files in $DISK_FAULTS say, while they
   exist: "fail" makes every sync fail with EIO, "slow" holds each for as many milliseconds as it says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *fault(const char *name) {
  char path[4096];
  const char *folder = getenv("DISK_FAULTS");
  if (!folder || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return NULL;
  return fopen(path, "r");
}

static int sync_file(const char *call, int fd) {
  int (*real)(int) = dlsym(RTLD_NEXT, call);
  int ms = 0;
  FILE *file = fault("slow");
  if (file) {
    if (fscanf(file, "%d", &ms) == 1) usleep(ms * 1000);
    fclose(file);
  }
  file = fault("fail");
  if (!file) return real(fd);
  fclose(file);
  errno = EIO;
  return -1;
}

int fdatasync(int fd) { return sync_file("fdatasync", fd); }
int fsync(int fd) { return sync_file("fsync", fd); }
