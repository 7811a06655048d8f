/* The first Windows program of a step; wcbuild/sandbox/wine/launcher.py says how it is compiled.
 *
 * Wine makes a program's one command line of the words that Unix gives it, and quotes them as it sees
 * fit; cmd, which reads its line in its own way, then sees another one than was written. Unix also keeps
 * PATH, TEMP and others for itself, and 8 bits of an exit status. So what is to be run stands in a file,
 * and so does how it ended.
 *
 * /run/wcbuild/job     UTF-16: working directory, command line and an environment block, each ended by
 *                      a zero (the last by two)
 * /run/wcbuild/status  the exit code in decimal
 *
 * Under any other name than its own the program stands in for one of Wine's that does nothing and
 * reports success; it says so, and fails.
 */
#include <windows.h>

#define JOB L"\\\\?\\unix\\run\\wcbuild\\job"
#define STATUS L"\\\\?\\unix\\run\\wcbuild\\status"
#define LAUNCHER_FAILED 125
#define REFUSED 1
#define MAX_JOB (1 << 20)

static WCHAR job[MAX_JOB / sizeof(WCHAR) + 2];

static void say(const char *text)
{
    DWORD written;
    WriteFile(GetStdHandle(STD_ERROR_HANDLE), text, lstrlenA(text), &written, NULL);
}

static WCHAR *after(WCHAR *text)
{
    return text + lstrlenW(text) + 1;
}

/* Create a directory and those above it; C:\ itself is there. */
static void make_directories(WCHAR *path)
{
    WCHAR *at;
    for (at = path + 3; *at; at++)
        if (*at == '\\') {
            *at = 0;
            CreateDirectoryW(path, NULL);
            *at = '\\';
        }
    CreateDirectoryW(path, NULL);
}

static void report(DWORD code)
{
    char text[10];
    int at = sizeof(text);
    DWORD written;
    HANDLE file = CreateFileW(STATUS, GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    do {
        text[--at] = '0' + code % 10;
        code /= 10;
    } while (code);
    WriteFile(file, text + at, sizeof(text) - at, &written, NULL);
    CloseHandle(file);
}

static DWORD launch(void)
{
    STARTUPINFOW startup = {0};
    PROCESS_INFORMATION process;
    WCHAR *directory = job, *line, *environment;
    DWORD read, code;
    HANDLE file = CreateFileW(JOB, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE || !ReadFile(file, job, MAX_JOB, &read, NULL)) {
        say("wcbuild: the launcher cannot read its job\r\n");
        return LAUNCHER_FAILED;
    }
    CloseHandle(file);
    line = after(directory);
    environment = after(line);
    make_directories(directory);
    startup.cb = sizeof(startup);
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    startup.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    startup.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!SetCurrentDirectoryW(directory)) {
        say("wcbuild: the working directory is not a directory\r\n");
        return LAUNCHER_FAILED;
    }
    /* The program is looked for in the PATH of the step. */
    for (WCHAR *entry = environment; *entry; entry = after(entry))
        if ((entry[0] | 32) == 'p' && (entry[1] | 32) == 'a' && (entry[2] | 32) == 't'
            && (entry[3] | 32) == 'h' && entry[4] == '=')
            SetEnvironmentVariableW(L"PATH", entry + 5);
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, CREATE_UNICODE_ENVIRONMENT, environment,
                        directory, &startup, &process)) {
        DWORD error = GetLastError();
        say(error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND
                ? "wcbuild: the program is not found\r\n"
                : "wcbuild: the program is not one that can be run here\r\n");
        return error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND ? 127 : 126;
    }
    CloseHandle(process.hThread);
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &code);
    return code;
}

static DWORD refuse(const WCHAR *name)
{
    char text[64];
    int at;
    for (at = 0; name[at] && at < (int)sizeof(text) - 1; at++)
        text[at] = name[at] < 128 ? (char)name[at] : '?';
    text[at] = 0;
    say("wcbuild: ");
    say(text);
    say(" is not available: Wine's does nothing and reports success\r\n");
    return REFUSED;
}

void start(void)
{
    static WCHAR path[MAX_PATH];
    const WCHAR *at, *name = path;
    DWORD code;
    GetModuleFileNameW(NULL, path, MAX_PATH);
    for (at = path; *at; at++)
        if (*at == '\\' || *at == '/')
            name = at + 1;
    if (lstrcmpiW(name, L"launcher.exe") == 0) {
        code = launch();
        report(code);
    } else
        code = refuse(name);
    ExitProcess(code);
}
