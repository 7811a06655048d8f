/* A Windows program for tests: the first argument says what it does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static int mutex(const char *name, int milliseconds)
{
    HANDLE handle = CreateMutexA(NULL, FALSE, name);
    int met = GetLastError() == ERROR_ALREADY_EXISTS;
    puts(met ? "met" : "alone");
    fflush(stdout);
    Sleep(milliseconds);
    return handle == NULL || met;
}

static int eat(int mebibytes)
{
    for (int i = 0; i < mebibytes; i++) {
        char *block = VirtualAlloc(NULL, 1 << 20, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
        if (!block) {
            printf("refused at %d\n", i);
            return 3;
        }
        memset(block, 1, 1 << 20);
    }
    puts("eaten");
    return 0;
}

/* Use so much processor time, and say how long that took. */
static int spin(int milliseconds)
{
    FILETIME created, ended, kernel, user;
    DWORD begun = GetTickCount();
    do
        GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user);
    while (user.dwLowDateTime + kernel.dwLowDateTime < (DWORD)milliseconds * 10000);
    printf("%lu\n", GetTickCount() - begun);
    return 0;
}

/* Start so many processes that sleep, and say how many there were. */
static int start(const char *self, int count)
{
    int started = 0;
    char line[1024];
    snprintf(line, sizeof(line), "\"%s\" sleep 3000", self);
    for (int i = 0; i < count; i++) {
        STARTUPINFOA startup = {sizeof(startup)};
        PROCESS_INFORMATION process;
        if (CreateProcessA(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process))
            started++;
    }
    printf("%d\n", started);
    return 0;
}

static int window(void)
{
    HWND handle = CreateWindowA("STATIC", "x", WS_OVERLAPPEDWINDOW, 0, 0, 9, 9, NULL, NULL, NULL, NULL);
    puts(handle ? "window" : "no window");
    return handle == NULL;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int number = argc > 2 ? atoi(argv[argc - 1]) : 0;
    if (!strcmp(what, "mutex"))
        return mutex(argv[2], number);
    if (!strcmp(what, "sleep"))
        Sleep(number);
    if (!strcmp(what, "eat"))
        return eat(number);
    if (!strcmp(what, "spin"))
        return spin(number);
    if (!strcmp(what, "start"))
        return start(argv[0], number);
    if (!strcmp(what, "window"))
        return window();
    if (!strcmp(what, "crash"))
        *(volatile int *)0 = 0;
    for (int i = 1; !strcmp(what, "show") && i < argc; i++)
        printf("[%s]\n", argv[i]);
    return 0;
}
