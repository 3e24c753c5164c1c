// One sample of QProcess: sends so many MiB through a program and reads them back, at once, in the way that is ordinary for Qt.
// On standard error it says how many nanoseconds that took, from the start of the program until its end was told.

#include <QByteArray>
#include <QCoreApplication>
#include <QElapsedTimer>
#include <QProcess>
#include <QString>
#include <QStringList>
#include <QtGlobal>
#include <cstdio>

namespace {

constexpr qint64 MIB = 1 << 20;
constexpr qint64 CHUNK_BYTES = 64 * 1024;
// QProcess takes everything that it is given, and keeps it in memory: it is not given more than this.
constexpr qint64 QUEUED_BYTES_MAX = 256 * 1024;

int failed(const QString &why) {
    std::fprintf(stderr, "%s\n", qPrintable(why));
    return 1;
}

} // namespace

int main(int argc, char **argv) {
    QCoreApplication app(argc, argv);
    const QStringList arguments = app.arguments();
    bool is_number = false;
    const qint64 bytes = arguments.value(2).toLongLong(&is_number) * MIB;
    if (arguments.size() != 3 || !is_number || bytes < 0) {
        return failed("it wants the path of a program and a number of MiB");
    }

    const QByteArray chunk(int(CHUNK_BYTES), '\7');
    QByteArray buffer(int(CHUNK_BYTES), '\0');
    QString failure;
    qint64 unsent = bytes;
    qint64 count = 0;
    qint64 nanos = 0;
    bool is_over = false;

    QProcess process;
    process.setProgram(arguments.at(1));
    process.setProcessChannelMode(QProcess::ForwardedErrorChannel);

    const auto fail = [&](const QString &why) {
        // What came first is the cause of the others.
        if (failure.isEmpty()) {
            failure = why;
        }
        is_over = true;
        app.exit(1);
    };
    const auto feed = [&] {
        while (unsent > 0 && process.bytesToWrite() + CHUNK_BYTES <= QUEUED_BYTES_MAX) {
            if (process.write(chunk) != CHUNK_BYTES) {
                return fail(process.errorString());
            }
            unsent -= CHUNK_BYTES;
            if (unsent == 0) {
                // What is queued is written before.
                process.closeWriteChannel();
            }
        }
    };
    const auto drain = [&] {
        for (;;) {
            const qint64 more = process.read(buffer.data(), CHUNK_BYTES);
            if (more <= 0) {
                return;
            }
            count += more;
        }
    };

    QObject::connect(&process, &QProcess::bytesWritten, &process, [&](qint64) { feed(); });
    QObject::connect(&process, &QProcess::readyReadStandardOutput, &process, drain);
    QObject::connect(&process, &QProcess::errorOccurred, &process,
                     [&](QProcess::ProcessError) { fail(process.errorString()); });
    QElapsedTimer timer;
    QObject::connect(&process, QOverload<int, QProcess::ExitStatus>::of(&QProcess::finished), &process,
                     [&](int code, QProcess::ExitStatus status) {
                         drain();
                         nanos = timer.nsecsElapsed();
                         if (status != QProcess::NormalExit || code != 0) {
                             return fail(QString("the program did not end well: exit code %1").arg(code));
                         }
                         is_over = true;
                         app.quit();
                     });

    timer.start();
    process.start(QIODevice::ReadWrite);
    if (bytes == 0) {
        process.closeWriteChannel();
    }
    feed();
    // A start can fail at once: there is nothing to wait for then.
    if (!is_over) {
        app.exec();
    }

    if (!failure.isEmpty()) {
        if (process.state() != QProcess::NotRunning) {
            process.kill();
            process.waitForFinished();
        }
        return failed(failure);
    }
    if (count != bytes) {
        return failed(QString("%1 came, and not %2").arg(count).arg(bytes));
    }
    std::fprintf(stderr, "%lld -\n", static_cast<long long>(nanos));
    return 0;
}
